"""What people should know although it holds no order back; every safety status tells it until it has gone."""

from __future__ import annotations


class Notices:
    """Sentences by subject; the newest of a subject counts."""

    def __init__(self) -> None:
        self._by_subject: dict[str, str] = {}

    def tell(self, subject: str, sentence: str | None) -> bool:
        """Say something about `subject`, or with None that nothing is to be said any more; whether that is news."""
        before = self._by_subject.get(subject)
        if sentence is None:
            self._by_subject.pop(subject, None)
        else:
            self._by_subject[subject] = sentence
        return sentence != before

    def told(self) -> tuple[str, ...]:
        return tuple(self._by_subject.values())
