"""Read definitions out of notebooks and scripts, without running the rest of them.

``reading`` opens files however damaged, ``slicing`` finds a definition and what it needs, ``running`` executes just that,
``taking`` is what the later notebooks call to use the earlier ones.
"""

from segkit.notebooks.files import FOREIGN, own_files
from segkit.notebooks.program import Chunk, Program
from segkit.notebooks.reading import Cell, Document, DocumentError, read_document
from segkit.notebooks.running import Unrunnable, at_home, execute, student_traceback, value_of
from segkit.notebooks.taking import UnfinishedError, open_folder, take
from segkit.notebooks.workbook import Definition, Workbook

__all__ = [
    "FOREIGN", "Cell", "Chunk", "Definition", "Document", "DocumentError", "Program", "UnfinishedError", "Unrunnable", "Workbook",
    "at_home", "execute", "open_folder", "own_files", "read_document", "student_traceback", "take", "value_of",
]  # fmt: skip
