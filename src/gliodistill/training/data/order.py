"""The study of each patch: every study once per round, or groups of studies by their shares."""

from collections.abc import Sequence

import numpy as np

from gliodistill.errors import StudyError
from gliodistill.preparation.cache import CachedStudy
from gliodistill.studies.records import StudyRecord

_GROUPS = 8
"""Random stream of the groups; 9, 10, … are those of each group."""
_ROUND = 100
"""Labelled patches in which every group has its share."""


class StudyOrder:
    """The study of every patch of a run, a function only of the patch's number.

    Args:
        seed: of the run.
        groups: of labelled studies, as :func:`group_shares` gives them.
    """

    def __init__(self, seed: int, groups: list[tuple[list[int], int]]) -> None:
        self._seed, self._groups = seed, groups

    def study(self, position: int, pool: range, stream: int) -> int:
        """The study of ``pool`` for patch number ``position``.

        Args:
            position: counted from 0 over the whole run.
            pool: indices of studies.
            stream: of random numbers; 0 for labelled studies, which may have groups.
        """
        if stream or not self._groups:
            return pool[self._turn(position, len(pool), stream + 1)]
        round_, place = divmod(position, _ROUND)
        counts = [count for _, count in self._groups]
        order = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self._seed, _GROUPS << 32, round_]))
        ).permutation(np.repeat(np.arange(len(counts)), counts))
        group = int(order[place])
        before = round_ * counts[group] + int((order[:place] == group).sum())
        members = self._groups[group][0]
        return members[self._turn(before, len(members), _GROUPS + 1 + group)]

    def _turn(self, position: int, studies: int, stream: int) -> int:
        """Each of ``studies`` once per round, in an order shuffled anew each round."""
        round_, place = divmod(position, studies)
        order = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self._seed, stream << 32, round_]))
        ).permutation(studies)
        return int(order[place])


def group_shares(
    studies: Sequence[CachedStudy | StudyRecord], shares: dict[str, float]
) -> list[tuple[list[int], int]]:
    """Groups as indices of studies, and the number of ``_ROUND`` patches of each; the studies of
    other groups are last. Empty without shares.

    Raises:
        StudyError: a group has no study, or the remaining share and the other studies do not match.
    """
    if not shares:
        return []
    members = {name: [i for i, s in enumerate(studies) if s.group == name] for name in shares}
    found = sorted({study.group for study in studies if study.group})
    for name, indices in members.items():
        if not indices:
            raise StudyError(
                "no labelled study of this group",
                field=f"sampling.groups.{name}",
                got="0 studies",
                expected=f"one of {', '.join(found)}" if found else "a column group in a manifest",
            )
    counts = [round(share * _ROUND) for share in shares.values()]
    rest = [i for i, study in enumerate(studies) if study.group not in shares]
    left = _ROUND - sum(counts)
    if bool(rest) != (left > 0):
        raise StudyError(
            "shares of groups do not add up",
            field="sampling.groups",
            got=f"{sum(counts)} % of the patches, and {len(rest)} studies of other groups",
            expected="less than 100 %" if rest else "100 %",
        )
    groups = list(zip(members.values(), counts, strict=True))
    return [*groups, (rest, left)] if rest else groups
