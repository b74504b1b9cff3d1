"""The model of a run, warmed up on a slice of the pool where the configuration says so."""

from pathlib import Path

from engine.models.loading import LanguageModel, load
from engine.models.table import TokenTable
from engine.models.warmup import WarmUp, WarmUpConfig, load_warm_up, save_warm_up, warm_up
from engine.progress import Reporter
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder


def prepare_model(
    folder: JobFolder, config: ScoreConfig, pool: TokenTable, reporter: Reporter
) -> tuple[LanguageModel, WarmUp | None]:
    """The model of the job's spec, warmed up on a slice of the pool where the configuration says so.

    A warm-up finished before a kill is loaded again, bit for bit.
    """
    spec = folder.spec["model"]
    lm = load(Path(spec["path"]), device=config.device, dtype=config.dtype, attention=config.attention)
    for note in lm.notes:
        reporter.log(note)
    if not config.warms_up(spec["kind"]):
        return lm, None
    place = folder.work / "warm-up"
    if (place / "done").exists():
        return lm, load_warm_up(place, lm)
    settings = WarmUpConfig(
        fraction=config.warm_up_fraction,
        epochs=config.warm_up_epochs,
        learning_rate=config.warm_up_learning_rate,
        batch_tokens=config.batch_tokens,
        seed=config.seed,
        max_rows=WarmUpConfig.max_rows if spec["kind"] == "builtin" else None,
    )
    warmed = warm_up(lm, pool, settings, reporter=reporter)
    save_warm_up(place, lm, warmed)
    (place / "done").touch()
    return lm, warmed
