"""What a drawn house has, and how large its parts are; both go by its number."""

from dataclasses import dataclass

import numpy as np

__all__ = ["CORNICE", "GROUND", "MOLDING", "PAVEMENT", "PILLAR", "STOREY", "House"]

# heights and widths in units; a bay is 2.7 wide
CORNICE, STOREY, MOLDING, GROUND, PAVEMENT = 0.42, 2.6, 0.8, 2.5, 0.3
PILLAR, BAY = 0.55, 2.7
# which of four houses have it: the rest of the number by four
WHERE = {"shop": (0, 1), "door": (0, 2), "pillar": (1, 2), "deco": (2, 3), "balcony": (0, 3), "blind": (1, 3)}


@dataclass(frozen=True)
class House:
    """What a house has; lengths in units."""

    storeys: int
    bays: int
    first: int
    closed: float
    left: float
    gap: float
    eaves: float
    roof: float
    has: frozenset[str]

    @classmethod
    def draw(cls, number: int, rows: float, columns: float) -> "House":
        """The house of a number; ``rows`` and ``columns`` are how many units there is room for, more or less."""
        rng = np.random.default_rng(number)
        roof = float(rng.choice([0.0, 0.0, 0.7]))
        eaves, left, gap = roof + rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.35)
        storeys = max(1, round((rows - eaves - CORNICE - GROUND - PAVEMENT) / (STOREY + MOLDING) - 0.3))
        bays = max(2, round((columns - left - gap) / BAY + rng.uniform(-0.5, 0.4)))
        has = frozenset(name for name, rests in WHERE.items() if (number + number // 8) % 4 in rests)
        return cls(storeys, bays, int(rng.integers(2)), rng.uniform(0.6, 1.0), left, gap, eaves, roof, has)

    @property
    def rows(self) -> float:
        return self.eaves + CORNICE + self.storeys * (STOREY + MOLDING) + GROUND + PAVEMENT

    @property
    def right(self) -> float:
        return self.left + self.bays * BAY + 2 * self.margin

    @property
    def columns(self) -> float:
        return self.right + self.gap

    @property
    def margin(self) -> float:
        """Wall or pillar beside the outermost bays."""
        return PILLAR if "pillar" in self.has else 0.2

    def bay(self, number: int) -> tuple[float, float]:
        left = self.left + self.margin + number * BAY
        return left, left + BAY
