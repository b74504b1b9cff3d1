"""Export: write exactly the chosen rows, with a manifest that says how they came about."""

import streamlit as st

from pages.parts import export_form, export_preview, export_result, merging_view, reads
from pages.parts.mistakes import errors_shown
from pages.parts.shell import empty, open_page

with open_page(
    "Export",
    "Write exactly the selected samples to a file, with a manifest that makes the result reproducible.",
    needs=("project", "pool"),
) as project:
    if not reads.by_state(project, "selections"):
        empty("There is no selection to export", "Choose a subset and save it first.", "Select")
        merging_view.block(project)
        st.stop()
    selection = export_form.choose(project)
    with errors_shown():
        asked = export_form.form(project, selection)
        with errors_shown():
            export_preview.preview(project, selection, asked.plan)
        if st.button("Export", type="primary", key="export_go", icon=":material/output:"):
            export_result.write(project, selection, asked)
    with errors_shown():
        export_result.written(project)
    st.header("Exports of this project", anchor=False)
    export_result.earlier(project)
    merging_view.block(project)
