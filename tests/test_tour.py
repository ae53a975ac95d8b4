"""The notebook runs from its first cell to its last, as someone new runs it in docs/."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_notebook_runs(tmp_path, make_cache, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (the extra test)")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat (the extra test)")
    kernel = pytest.importorskip("ipykernel.kernelspec", reason="needs ipykernel (the extra test)")
    # A kernel of this interpreter, in a copy of the project that the notebook may fill.
    kernel.install(prefix=str(tmp_path / "prefix"), kernel_name="tour")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix/share/jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("DNNLIB_CACHE_DIR", str(make_cache(tmp_path / "cache")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "docs").mkdir()
    for script in ROOT.glob("*.py"):
        (tmp_path / script.name).symlink_to(script)
    notebook = nbformat.read(ROOT / "docs/tour.ipynb", as_version=4)
    place = {"metadata": {"path": str(tmp_path / "docs")}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="tour", resources=place).execute()
    problems = [
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        # A script that fails is no error of its cell.
        if "error: " in output.get("text", "") or "Traceback" in output.get("text", "")
    ]
    assert problems == []
    assert (tmp_path / "tour/clothing.png").exists() and (tmp_path / "tour/edit.png").exists()
