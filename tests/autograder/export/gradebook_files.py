"""Gradebook files as course systems give them out, with a slot ``{name}`` for each student's points.

Written from what the systems do: Canvas's ``lib/gradebook_exporter.rb``; Moodle's ``mod/assign/gradingtable.php`` (``tablelib``'s CSV) with
the headers of its language packs (``recordid``, ``grade``, ``maxgrade``, ``lastmodifiedgrade``, ``hiddenuser``); D2L's "Importing
grades"; Blackboard's "Work offline with grade data" (tab and UTF-16 as .xls, or comma). No text is theirs, and nobody is real.
"""

import json
from pathlib import Path

from fake_class import fake_result, set_check

ROSTER = """student_id,first_name,last_name,email
ada,Ada,Lovelace,ada@example.org
bjoern,Björn,Müller,bjoern@example.org
chiara,Chiara,"O'Neill",chiara@example.org
dmitri,Dmitri,Ivanov,dmitri@example.org
"""

# second line: posting policies; then points possible. A name that begins with = is written as a formula that says it.
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,Notes,Quiz 1 (901),FCN networks (902),Assignments Current Score,Current Score\r\n"
    ",,,,,,,Manual Posting,,\r\n"
    "    Points Possible,,,,,,10.00,100.00,(read only),(read only)\r\n"
    '"Lovelace, Ada",4711,S0001,ada,"Sec A, 9:00 and Sec B",,9.50,{ada},95.00,95.00\r\n'
    '"Müller, Björn",4712,S0002,bjoern,Sec A,"says ""hi""\n twice",8.00,{bjoern},80.00,80.00\r\n'
    '"O\'Neill, Chiara",4713,S0003,chiara,Sec B,,,{chiara},,\r\n'
    '"=""Ivanov, Dmitri""",4714,S0004,dmitri,Sec B,,7.00,{dmitri},70.00,70.00\r\n'
    '"Student, Test",4799,,a94a8fe5ccb19ba61c4c0873d391e987982fbbd3,Sec A,,,,,\r\n'
)
MOODLE = (
    'Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed","Last modified (submission)",'
    '"Last modified (grade)","Feedback comments"\n'
    '"Participant 1001","Ada Lovelace",ada@example.org,"Submitted for grading",{ada},100.00,Yes,"Saturday, 14 March 2026, 10:10 PM",-,\n'
    '"Participant 1002","Björn Müller",bjoern@example.org,"Submitted for grading - Graded",{bjoern},100.00,Yes,-,-,"<p>Fine,\n'
    'but ""late"".</p>"\n'
    '"Participant 1003","Chiara O\'Neill",chiara@example.org,"No submission",{chiara},100.00,Yes,-,-,\n'
    '"Participant 1004","Dmitri Ivanov",dmitri@example.org,"Submitted for grading",{dmitri},100.00,No,-,-,\n'
)
# a German, a French and a Spanish account: other headers, a decimal comma, and in the first two no blank before the number
MOODLE_GERMAN = (
    'ID,"Vollständiger Name",E-Mail-Adresse,Status,Bewertung,Bestwertung,"Bewertung kann geändert werden","Zuletzt geändert (Abgabe)",'
    '"Zuletzt geändert (Bewertung)","Feedback als Kommentar"\n'
    'Teilnehmer/in1001,"Ada Lovelace",ada@example.org,"Zur Bewertung abgegeben",{ada},"100,00",Ja,-,-,\n'
    'Teilnehmer/in1002,"Björn Müller",bjoern@example.org,"Zur Bewertung abgegeben",{bjoern},"100,00",Ja,-,-,\n'
    'Teilnehmer/in1003,"Chiara O\'Neill",chiara@example.org,"Keine Abgabe",{chiara},"100,00",Ja,-,-,\n'
    'Teilnehmer/in1004,"Dmitri Ivanov",dmitri@example.org,"Zur Bewertung abgegeben",{dmitri},"100,00",Nein,-,-,\n'
)
MOODLE_FRENCH = (
    'Identifiant;"Nom complet";"Adresse de courriel";Statut;Note;"Note maximale";"La note peut être modifiée";'
    '"Dernière modification (travail remis)";"Dernière modification (note)"\n'
    'Participant1001;"Ada Lovelace";ada@example.org;"Remis pour évaluation";{ada};100,00;Oui;-;-\n'
    'Participant1002;"Björn Müller";bjoern@example.org;"Remis pour évaluation";{bjoern};100,00;Oui;-;-\n'
    'Participant1003;"Chiara O\'Neill";chiara@example.org;"Aucun travail remis";{chiara};100,00;Oui;-;-\n'
    'Participant1004;"Dmitri Ivanov";dmitri@example.org;"Remis pour évaluation";{dmitri};100,00;Non;-;-\n'
)
MOODLE_SPANISH = (
    'Identificador,"Nombre completo","Dirección de correo",Estado,Calificación,"Calificación máxima","La calificación puede ser cambiada",'
    '"Última modificación (entrega)","Última modificación (calificación)","Comentarios de retroalimentación"\n'
    '"Participante 1001","Ada Lovelace",ada@example.org,"Enviado para calificar",{ada},"100,00",Sí,-,-,\n'
    '"Participante 1002","Björn Müller",bjoern@example.org,"Enviado para calificar",{bjoern},"100,00",Sí,-,-,\n'
    '"Participante 1003","Chiara O\'Neill",chiara@example.org,"Sin entrega",{chiara},"100,00",Sí,-,-,\n'
    '"Participante 1004","Dmitri Ivanov",dmitri@example.org,"Enviado para calificar",{dmitri},"100,00",No,-,-,\n'
)
BRIGHTSPACE = (
    "OrgDefinedId,Username,Last Name,First Name,Email,"
    "FCN Points Grade <Numeric MaxPoints:100 Weight:30 Category:Labs CategoryWeight:50>,"
    "Labs Subtotal Numerator,Remark Text Grade <Text>,Calculated Final Grade Numerator,End-of-Line Indicator\r\n"
    "#004711,#ada,Lovelace,Ada,ada@example.org,{ada},,,,#\r\n"
    "#004712,#bjoern,Müller,Björn,bjoern@example.org,{bjoern},,,,#\r\n"
    "#004713,#chiara,O'Neill,Chiara,chiara@example.org,{chiara},,,,#\r\n"
    "#004714,#dmitri,Ivanov,Dmitri,dmitri@example.org,{dmitri},,,,#\r\n"
)
BLACKBOARD = (
    '"Last Name"\t"First Name"\t"Username"\t"Student ID"\t"Last Access"\t"Availability"\t'
    '"Weighted Total [Total Pts: up to 200 Score] |700001"\t"Team [Total Pts: 0 Text] |700002"\t'
    '"FCN [Total Pts: 100 Score] |700003"\t"Essay [Total Pts: 100 Score] |700004"\n'
    '"Lovelace"\t"Ada"\t"ada"\t"0012345"\t"2026-03-14 22:10:05"\t"Yes"\t""\t"red"\t"{ada}"\t""\n'
    '"Müller"\t"Björn"\t"bjoern"\t"0012346"\t"2026-03-14 22:10:05"\t"Yes"\t""\t"blue"\t"{bjoern}"\t""\n'
    '"O\'Neill"\t"Chiara"\t"chiara"\t"0012347"\t""\t"Yes"\t""\t""\t"{chiara}"\t"50.00000"\n'
    '"Ivanov"\t"Dmitri"\t"dmitri"\t"0012348"\t""\t"Yes"\t""\t""\t"{dmitri}"\t""\n'
)


def slots(text: str, **points: str) -> str:
    """The file with points in its slots; nothing where none are given."""
    for name in ("ada", "bjoern", "chiara", "dmitri"):
        text = text.replace(f"{{{name}}}", points.get(name, ""))
    return text


def marked(name: str, total: float) -> dict:
    """A result whose points are all given: at most 100, of which 70 are automatic."""
    result, left = fake_result(name), total
    for check in result["checks"]:
        points = min(check["max_points"], left)
        set_check(result, check["id"], points)
        left -= points
    result["needs_manual"] = 0
    assert result["score"] == total
    return result


def graded_folder(folder: Path, *results: dict) -> Path:
    """A graded folder as ``grade`` leaves it, as far as exports read it."""
    for number, result in enumerate(results):
        place = folder / f"{number}_{result['submission'][:20].replace('/', '_')}"
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder
