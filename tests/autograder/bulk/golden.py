"""One class with difficult names, as each course system gives its hand-ins out; and whose each file is, written down beforehand.

The names of files follow the exporters' own code where that is public (Canvas: ``lib/content_zipper.rb`` of canvas-lms; Moodle:
``mod/assign/classes/downloader.php``; nbgrader: its exchange's ``submit`` and ``collect``), and elsewhere what several public programs
expect that read such downloads (Gradescope's ``submission_metadata.yml``, Blackboard's receipts, Brightspace's folders).
"""

import io
import zipfile

# Two namesakes; one whose name is the end of another's; one whose id and whose login are what others have in their names.
CLASS = """Student,ID,SIS Login ID,Email
"Lovelace, Ada",4711,ada,ada@example.org
"Müller, Björn",4712,bjoern_m,bjoern@example.org
"O'Neill, Chiara",4713,chiara,chiara@example.org
"Groß, Anna-Lena",4714,anna,anna@example.org
"Groß, Lena",4715,lena,lena@example.org
"Li, Wei",4716,wli,wli@example.org
"Li, Wei",4717,wli2,wli2@example.org
"Ng, Åse",7,m,ase@example.org
"García López, María José",0042,mj,mj@example.org
"""
WORKSHEET = """Identifier,Full name,Email address,Status,Grade,Last modified (grade)
Participant 101,Ada Lovelace,ada@example.org,Submitted,,
Participant 102,Björn Müller,bjoern_m@example.org,Submitted,,
Participant 103,Chiara O'Neill,chiara@example.org,Submitted,,
Participant 104,Anna-Lena Groß,anna@example.org,Submitted,,
Participant 105,Lena Groß,lena@example.org,Submitted,,
Participant 106,Wei Li,wli@example.org,Submitted,,
Participant 107,Wei Li,wli2@example.org,Submitted,,
Participant 7,Åse Ng,m@example.org,Submitted,,
Participant 109,María José García López,mj@example.org,Submitted,,
"""
BLIND = "Identifier,Status,Grade,Last modified (grade)\nParticipant 101,Submitted,,\nParticipant 102,Submitted,,\n"


def packed(text):
    """A zip as a student makes it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as bundle:
        bundle.writestr("1_data.ipynb", text)
    return content.getvalue()


# Canvas takes all but letters, digits and _ out of the name as it is sorted, in small letters.
CANVAS = {
    "lovelaceada_4711_90001_1_data.ipynb": "ada 1",
    "lovelaceada_4711_90002_2_fcn32s-1.ipynb": "ada 2",
    "müllerbjörn_LATE_4712_90003_submission-2.zip": packed("björn"),
    "oneillchiara_4713_90004_model-1.pth": "chiara, first half",
    "oneillchiara_4713_90005_model-2.pth": "chiara, second half",
    "großannalena_4714_90006_1_data.ipynb": "anna",
    "großlena_4715_text.html": "lena typed",
    "liwei_4716_90007_1_data.ipynb": "wei",
    "liwei_4717_90008_1_data.ipynb": "the other wei",
    "ngåse_7_4711_1_data.ipynb": "åse: the number of the file is Ada's id",
    "garcíalópezmaríajosé_42_90011_4713_1_data.ipynb": "mj: the name of the file begins like a hand-in of Chiara's",
}
CANVAS_HOLDS = {
    "ada": {"1_data.ipynb": "ada 1", "2_fcn32s.ipynb": "ada 2"},
    "bjoern_m": {"1_data.ipynb": "björn"},
    "chiara": {"model-1.pth": "chiara, first half", "model-2.pth": "chiara, second half"},
    "anna": {"1_data.ipynb": "anna"},
    "lena": {"text.html": "lena typed"},
    "wli": {"1_data.ipynb": "wei"},
    "wli2": {"1_data.ipynb": "the other wei"},
    "m": {"1_data.ipynb": "åse: the number of the file is Ada's id"},
    "mj": {"4713_1_data.ipynb": "mj: the name of the file begins like a hand-in of Chiara's"},
}

# Moodle writes the name as it is shown less what no file may have, and before it a group's name; the number is the participant's.
MOODLE = {
    "Ada Lovelace_101_assignsubmission_file_/1_data.ipynb": "ada",
    "Ada Lovelace_101_assignsubmission_onlinetext_/onlinetext.html": "see the notebook",
    "Tutorium 3-B-Björn Müller_102_assignsubmission_file_/work/1_data.ipynb": "björn",
    "Chiara ONeill_103_assignsubmission_file_1_data.ipynb": "chiara: without folders, as the older Moodle has it",
    "Anna-Lena Groß_104_assignsubmission_file_/1_data.ipynb": "anna",
    "Lena Groß_105_assignsubmission_file_/1_data.ipynb": "lena",
    "Wei Li_106_assignsubmission_file_/1_data.ipynb": "wei",
    "Wei Li_107_assignsubmission_file_/1_data.ipynb": "the other wei",
    "Åse Ng_7_assignsubmission_file_/1_data.ipynb": "åse",
    "María José García López_109_assignsubmission_file_/1_data.ipynb": "mj",
}
MOODLE_HOLDS = {
    "ada": {"1_data.ipynb": "ada", "onlinetext.html": "see the notebook"},
    "bjoern_m": {"work/1_data.ipynb": "björn"},
    "chiara": {"1_data.ipynb": "chiara: without folders, as the older Moodle has it"},
    "anna": {"1_data.ipynb": "anna"},
    "lena": {"1_data.ipynb": "lena"},
    "wli": {"1_data.ipynb": "wei"},
    "wli2": {"1_data.ipynb": "the other wei"},
    "m": {"1_data.ipynb": "åse"},
    "mj": {"1_data.ipynb": "mj"},
}

GRADESCOPE = {
    "assignment_5_export/submission_metadata.yml": """submission_1:
  :submitters:
  - :name: Wei Li
    :sid: '4717'
    :email: wli2@example.org
  :created_at: 2026-03-14 20:00:00.123456 Z
submission_2:
  :submitters:
  - :name: Maria Jose Garcia Lopez
    :sid: '42'
    :email:
  - :name: Åse Ng
    :sid:
    :email: ase@example.org
  :created_at: 2026-03-14 22:00:00.123456 Z
submission_3:
  :submitters:
  - :name: MÃ¼ller, BjÃ¶rn
    :sid:
    :email:
  :created_at: 2026-03-14 20:00:00.123456 Z
""",
    "assignment_5_export/submission_1/1_data.ipynb": "the other wei",
    "assignment_5_export/submission_2/1_data.ipynb": "mj and åse",
    "assignment_5_export/submission_3/1_data.ipynb": "björn",
}
GRADESCOPE_HOLDS = {
    "wli2": {"1_data.ipynb": "the other wei"},
    "mj": {"1_data.ipynb": "mj and åse"},
    "m": {"1_data.ipynb": "mj and åse"},
    "bjoern_m": {"1_data.ipynb": "björn"},
}


def receipt(name, user, original="", filename=""):
    return (
        f"Name: {name} ({user})\nAssignment: FCN_Project\nDate Submitted: Saturday, March 14, 2026 10:10:05 PM CET\nCurrent Grade: \n\n"
        "Submission Field:\nName: Ada Lovelace (ada)\n\nComments:\nThere are no student comments for this assignment.\n\n"
        f"Files:\n\tOriginal filename: {original}\n\tFilename: {filename}\n"
    )


WHEN = "attempt_2026-03-14-22-10-05"
MANGLED = f"FCN_Project_mj_{WHEN}_1_data_.ipynb"
BLACKBOARD = {
    f"FCN_Project_ada_{WHEN}.txt": receipt("Ada Lovelace", "ada"),
    f"FCN_Project_ada_{WHEN}_1_data.ipynb": "ada",
    "FCN_Project_ada_attempt_2026-03-13-08-00-00_1_data.ipynb": "ada, a day before",
    f"FCN_Project_bjoern_m_{WHEN}.txt": receipt("Björn Müller", "bjoern_m"),
    f"FCN_Project_bjoern_m_{WHEN}_1_data.ipynb": "björn, whose login ends in åse's",
    f"FCN_Project_m_{WHEN}_1_data.ipynb": "åse",
    f"FCN_Project_mj_{WHEN}.txt": receipt("María José García López", "mj", "1_data.ipynb", MANGLED),
    MANGLED: "mj",
}
BLACKBOARD_HOLDS = {
    "ada": {"1_data.ipynb": "ada"},
    "bjoern_m": {"1_data.ipynb": "björn, whose login ends in åse's"},
    "m": {"1_data.ipynb": "åse"},
    "mj": {"1_data.ipynb": "mj"},
}

BRIGHTSPACE = {
    "FCN/index.html": "<html>who handed in what</html>",
    "FCN/39786-640693 - Ada Lovelace - Mar 14, 2026 1010 PM/1_data.ipynb": "ada",
    "FCN/39786-640693 - Ada Lovelace - Mar 13, 2026 959 AM/1_data.ipynb": "ada, a day before",
    "FCN/39787-640693 - Björn Müller - Mar 14, 2026 1010 PM/src/1_data.ipynb": "björn",
    "FCN/39788-640693 - Chiara O'Neill - Mar 15, 2026 1210 AM - 1_data.ipynb": "chiara: without folders",
    "FCN/39789-640693 - Anna-Lena Groß - Mar 14, 2026 1010 PM/1_data.ipynb": "anna",
    "FCN/4711-640693 - María José García López - Mar 14, 2026 1010 PM/1_data.ipynb": "mj: the number is Brightspace's own",
}
BRIGHTSPACE_HOLDS = {
    "ada": {"1_data.ipynb": "ada"},
    "bjoern_m": {"src/1_data.ipynb": "björn"},
    "chiara": {"1_data.ipynb": "chiara: without folders"},
    "anna": {"1_data.ipynb": "anna"},
    "mj": {"1_data.ipynb": "mj: the number is Brightspace's own"},
}

EXCHANGE = {
    "inbound/ada+fcn+2026-03-14 22:10:05.123456 CET+cmFuZG9t/1_data.ipynb": "ada",
    "inbound/ada+fcn+2026-03-14 22:10:05.123456 CET+cmFuZG9t/timestamp.txt": "2026-03-14 22:10:05.123456 CET",
    "inbound/ada+fcn+2026-03-14 22:05:05.123456 UTC/1_data.ipynb": "ada, an hour later",
    "inbound/bjoern_m+fcn+2026-03-14 13:10:05.123456 PDT+eHl6/1_data.ipynb": "björn",
    "inbound/m+fcn+2026-03-14 22:10:05.123456 UTC+eHl6/1_data.ipynb": "åse",
}
EXCHANGE_HOLDS = {
    "ada": {"1_data.ipynb": "ada, an hour later"},
    "bjoern_m": {"1_data.ipynb": "björn"},
    "m": {"1_data.ipynb": "åse"},
}

SUBMITTED = {
    "submitted/ada/fcn/1_data.ipynb": "ada",
    "submitted/ada/fcn/timestamp.txt": "2026-03-14 14:10:05.123456 America/Los_Angeles",
    "submitted/bjoern_m/fcn/1_data.ipynb": "björn",
}
SUBMITTED_HOLDS = {
    "ada": {"1_data.ipynb": "ada", "timestamp.txt": "2026-03-14 14:10:05.123456 America/Los_Angeles"},
    "bjoern_m": {"1_data.ipynb": "björn"},
}
