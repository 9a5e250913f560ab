"""What people read: tables of runs."""

from safe_embed.reports.tables import run_tables

__all__ = ["run_tables"]
