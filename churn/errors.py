"""The one error that people are meant to read: what went wrong, where, and what to do next."""


class ChurnError(Exception):
    """A problem with a remedy.

    Args:
        what: the fact, with the value that is wrong.
        where: file, table, month, column or row; empty where `what` already says it.
        remedy: what the person who reads it should do next.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """The whole text: `where: what`, and the remedy on a line of its own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  -> {self.remedy}" if self.remedy else head
