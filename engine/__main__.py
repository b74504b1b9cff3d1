"""`python -m engine …`: everything the pages can do, for the shell.

`run-job` is handled here, before the command-line library or anything that opens a project is imported: it must work
on a machine that has only torch, numpy, scipy and transformers.
"""

import sys

from engine.errors import EngineError


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 mendable, 2 wrong usage, 3 locked, 130 cancelled."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["run-job"]:
            from engine.cli.run_job import run_job_command

            return run_job_command(words[1:])
        from engine.cli.app import run

        return run(words)
    except EngineError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout, such as `head`, has gone
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
