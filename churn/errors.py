"""The one error that a person reads: what went wrong, where, and what to do next."""


class ChurnError(Exception):
    """A problem with a remedy.

    Args:
        what: the fact, with the value that is wrong.
        where: file, table, month, column or row; empty when the fact says it.
        remedy: the next step of the person who reads it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """One readable text: `where: what`, and the remedy on a line of its own."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  -> {self.remedy}" if self.remedy else head
