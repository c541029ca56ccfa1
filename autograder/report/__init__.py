"""Pages and tables for people, made from result dictionaries alone; nothing here knows what was graded."""

from autograder.report.answers import read_answer_pictures, read_answers
from autograder.report.class_page import write_class_page
from autograder.report.labels import cause_label, first_fault
from autograder.report.lateness import late_in, late_of
from autograder.report.pictures import read_pictures
from autograder.report.student_page import same_page, write_student_page
from autograder.report.summary import format_table, write_summary

__all__ = [
    "cause_label",
    "first_fault",
    "format_table",
    "late_in",
    "late_of",
    "read_answer_pictures",
    "read_answers",
    "read_pictures",
    "same_page",
    "write_class_page",
    "write_student_page",
    "write_summary",
]
