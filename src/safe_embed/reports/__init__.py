"""What people read: tables of runs."""

from safe_embed.reports.comparison_tables import (
    comparison_csv,
    comparison_markdown,
    comparison_table,
)
from safe_embed.reports.tables import run_tables

__all__ = ["comparison_csv", "comparison_markdown", "comparison_table", "run_tables"]
