"""Made-up bulk downloads and what stands in them."""

import stat
import zipfile

ROSTER = """Student,ID,SIS Login ID,Email
"Lovelace, Ada",4711,ada,ada@example.org
"Müller, Björn",4712,bjoern,bjoern@example.org
"O'Neill, Chiara",4713,chiara,chiara@example.org
    Points Possible,,,
"""

METADATA = """submission_31:
  :submitters:
  - :name: Ada Lovelace
    :sid: '4711'
    :email: ada@example.org
  - :name: 'Chiara O''Neill'
    :sid:
    :email: chiara@example.org
  :created_at: 2026-03-14 20:00:00.123456 Z
  :score: 3.0
  :results:
    tests:
    - name: ":submitters:"
  :history:
  - :id: 30
    :created_at: 2026-03-01 00:00:00 Z
submission_32:
  :submitters:
  - :name: Bjorn Muller
    :sid: '4712'
    :email:
  :created_at: !ruby/object:ActiveSupport::TimeWithZone
    utc: &1 2026-03-16 01:30:00.000000000 Z
    zone: !ruby/object:ActiveSupport::TimeZone
      name: Etc/UTC
"""


def inner_zip(path, files):
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)
    return path.read_bytes()


def by_name(handins):
    return {handin.name: handin for handin in handins}


def content(path):
    """Files of a hand-in, whether folder or zip."""
    if path.is_dir():
        return {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


def member_of_kind(name, kind=stat.S_IFLNK):
    info = zipfile.ZipInfo(name, (2026, 3, 14, 12, 0, 0))
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info
