"""What a progress bar leaves in a notebook."""

import nbformat
from nbclient import NotebookClient

CODE = """from segkit.progress import bar, say
for step in bar(range(20), desc="training"):
    if step % 10 == 0:
        say(f"step {step}")"""


def test_a_bar_in_a_notebook_is_text_that_is_there_when_the_notebook_is_opened_again():
    """A widget is not: "Error displaying widget: model not found"; and a front end without widgets shows 0 % until the end."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    NotebookClient(notebook, timeout=120).execute()
    outputs = notebook.cells[0].outputs
    assert {(output.output_type, output.get("name")) for output in outputs} == {("stream", "stdout")}
    lines = [line for output in outputs for line in output.text.splitlines() if line.strip()]
    assert lines[-1].startswith("training: 100%|") and "20/20" in lines[-1]
    assert [line.rstrip() for line in lines if line.startswith("step")] == ["step 0", "step 10"]
