"""Viva sheets: for each student a page of questions about changes of their own code, and the answers as they were measured.

``changes`` finds what can be changed in a definition, ``asking`` takes down what the checks ask of the code and asks the changed code the
same, ``effects`` says in words what came out differently, ``choosing`` picks the questions of one student, ``sitting`` goes through a
class, ``pages`` prints.
"""
