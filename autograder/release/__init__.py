"""The student release: built, leak-checked and tried (``python -m autograder release fcn --out DIR``)."""
