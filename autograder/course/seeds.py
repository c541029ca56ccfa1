"""Seeds that no student knows, the same for the whole class and from run to run."""

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["SECRET_FILE", "SECRET_VARIABLE", "SecretError", "Seeds", "course_secret"]

SECRET_VARIABLE = "SEGKIT_COURSE_SECRET"
SECRET_FILE = ".segkit-secret"


class SecretError(Exception):
    """The course's secret cannot be used."""


def course_secret(folder: Path = Path()) -> str:
    """Return the course's secret: from the environment, else from an ignored file that is made at first use."""
    from_environment = os.environ.get(SECRET_VARIABLE)
    if from_environment:
        return from_environment
    path = folder / SECRET_FILE
    if not path.is_file():
        handle, name = tempfile.mkstemp(dir=folder, prefix=SECRET_FILE)  # readable by its owner only
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(name, path)  # another run may have been faster: then its secret counts
        Path(name).unlink()
    secret = path.read_text(encoding="utf-8").strip()
    if len(secret) < 16:
        found = f"expected a secret of at least 16 characters, but got {len(secret)}"
        raise SecretError(f"{path}: {found}. Remove the file: a new one is made.")
    return secret


@dataclass(frozen=True)
class Seeds:
    """Draws seeds from the course's secret."""

    secret: str

    def digest(self, *parts: str) -> bytes:
        """HMAC-SHA256 of the parts under the secret."""
        return hmac.new(self.secret.encode(), "\0".join(parts).encode(), hashlib.sha256).digest()

    def number(self, *parts: str) -> int:
        """A 63-bit number."""
        return int.from_bytes(self.digest(*parts)[:8], "big") >> 1

    def generator(self, *parts: str) -> np.random.Generator:
        """A NumPy generator."""
        return np.random.default_rng(int.from_bytes(self.digest(*parts), "big"))

    @property
    def name(self) -> str:
        """What a result says of the seed: it tells whether two runs had the same one, and nothing else."""
        return self.digest("name of the seed").hex()[:12]
