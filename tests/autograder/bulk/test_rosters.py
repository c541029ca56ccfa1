"""Class lists as systems in four languages give them out: who is in them, by what they are found, in which groups they are."""

import pytest

from autograder.handins.roster import PARTICIPANT, read_roster


def roster(tmp_path, text, encoding="utf-8-sig"):
    (tmp_path / "roster.csv").write_text(text, encoding=encoding)
    return read_roster(tmp_path / "roster.csv")


@pytest.mark.parametrize("text", [
    "Matrikelnummer;Nachname;Vorname;Anmeldename;E-Mail\n4711;Müller;Björn;bm;b@x\n",
    "Anmeldename\tName\tMatr.-Nr.\tE-Mail\nbm\tMüller, Björn\t4711\tb@x\n",
    "Matrikelnr.;Name;Vorname;Nutzername;E-Mail\n4711;Müller, Björn;Björn;bm;b@x\n",
    "Matrikelnummer;Name;Vorname;Nutzernamen;E-Mail-Adresse\n4711;Müller;Björn;bm;b@x\n",
    "Identifiant;Nom;Prénom;N° étudiant;Courriel\nbm;Müller;Björn;4711;b@x\n",
    "Numero d'etudiant,Nom de famille,Prenom,Identifiant,Adresse mail\n4711,Müller,Björn,bm,b@x\n",
    "Número;Apellidos;Nombre;Nombre de usuario;correo\n4711;Müller;Björn;bm;b@x\n",
    "Nº Matrícula;Apellido(s);Nombre;Nombre de usuario;Correo electrónico\n4711;Müller;Björn;bm;b@x\n",
    "OrgDefinedId,Username,Last Name,First Name,Email,End-of-Line Indicator\n#4711,#bm,Müller,Björn,b@x,#\n",
    '"Last Name","First Name","Username","Student ID","Email","Availability"\n"Müller","Björn","bm","4711","b@x",""\n',
    "name,canvas_user_id,login_id,email\nBjörn Müller,4711,bm,b@x\n",
    "identifier,github_username,name,email\n4711,bm,Björn Müller,b@x\n",
    "sep=;\nSID;Login;First Name;Last Name;Email\n=\"4711\";bm;BjÃ¶rn;MÃ¼ller;b@x\n",
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_student_is_the_same_in_every_class_list(tmp_path, text, encoding):
    (student,) = roster(tmp_path, text, encoding).students
    assert (student.first_name, student.last_name, student.email) == ("Björn", "Müller", "b@x")
    assert student.name in ("4711", "bm") and {"4711", "bm", "b@x"} <= student.ids


@pytest.mark.parametrize("text", [
    "Identifier,Full name,Email address\nParticipant 1001,Björn Müller,b@x\n",
    "ID;Vollständiger Name;E-Mail-Adresse\nTeilnehmer/in1001;Björn Müller;b@x\n",
    "Identifiant,Nom complet,Adresse de courriel\nParticipant 1001,Björn Müller,b@x\n",
    "Identificador,Nombre completo,Dirección de correo\nParticipante 1001,Björn Müller,b@x\n",
])  # fmt: skip
def test_moodles_worksheet_gives_the_participants_number_and_no_id_is_made_of_it(tmp_path, text):
    (student,) = roster(tmp_path, text).students
    assert (student.name, student.participant) == ("b", "1001") and student.ids == {"b", "b@x"}


def test_numbers_with_a_point_and_unbreakable_blanks_are_what_they_mean(tmp_path):
    """Data frames make 4711.0 of an id where another line has none; web pages keep names together."""
    ada, jan, eve = roster(
        tmp_path, "student_id,Full\u00a0name\n4711.0,Ada\u00a0Lovelace\n4712.0,Jan  van\u00a0der Berg\n4.10,Eve Moon\n"
    ).students
    assert (ada.name, ada.first_name, ada.last_name) == ("4711", "Ada", "Lovelace") and "4711" in ada.ids
    assert (jan.name, jan.first_name, jan.last_name, eve.name) == ("4712", "Jan van der", "Berg", "4.10")


@pytest.mark.parametrize("text", ["student1001", "s1001", "1001", "Participant", "Party 12a"])
def test_an_id_is_no_participant(text):
    assert not PARTICIPANT.fullmatch(text)


def test_who_stands_in_two_sections_and_groups_is_one_student_in_all_of_them(tmp_path):
    text = 'login,name,section,groups\nada,Ada Lovelace,A,Team 7\nada,Ada Lovelace,B,"Lab 2, Team 9"\n'
    (student,) = (people := roster(tmp_path, text)).students
    assert [people.group(name) for name in ("team_7", "Lab 2", "Team-9")] == [(student,)] * 3 and people.group("Team") == ()


def test_a_name_without_a_comma_is_found_wherever_its_last_name_begins(tmp_path):
    (student,) = (people := roster(tmp_path, "id,name\n1,María José García López\n")).students
    for name in ("garcialopezmariajose", "María José García López", "López María José García", "MarÃ\xada JosÃ© GarcÃ\xada LÃ³pez"):
        assert people.named(name) == [student]
    assert people.named("José María García López") == [] and people.named("") == []


def test_numbers_are_found_without_their_zeros_where_they_are_numbers(tmp_path):
    people = roster(tmp_path, "id,name\n0042,Ada\n42x,Ben\n00,Cleo\n")
    assert [[student.name for student in people.find_bare(text)] for text in ("42", "00042", "#42", "42x", "0", "")] == [
        ["0042"], ["0042"], ["0042"], [], [], [],
    ]  # fmt: skip
