"""Drafting a first contract from somebody's exports, with what was guessed and what a person must decide."""

from churn.contract.draft.business import understand
from churn.contract.draft.exports import Exports, read_exports
from churn.contract.draft.sources import Business
from churn.contract.draft.text import ContractDraft, draft_text

__all__ = ["Business", "ContractDraft", "Exports", "draft_text", "read_exports", "understand"]
