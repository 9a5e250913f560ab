"""Data sets: their catalogue, the formats that are read, checks, and the download."""

from safe_embed.datasets.beavertails import HeadTail, load_head_tail, sample_head_tail
from safe_embed.datasets.catalogue import DataSet, fetch, load, locate
from safe_embed.datasets.catalogue import row as catalogue_row
from safe_embed.datasets.catalogue import rows as catalogue_rows
from safe_embed.datasets.check import CheckReport, check_file
from safe_embed.datasets.columns import KINDS, Kind, Record
from safe_embed.datasets.download import Progress
from safe_embed.datasets.formats import Defect, RecordFile, load_records, read_records
from safe_embed.datasets.tables import Problem, Row, read_parquet, read_table, write_parquet

__all__ = [
    "KINDS",
    "CheckReport",
    "DataSet",
    "Defect",
    "HeadTail",
    "Kind",
    "Problem",
    "Progress",
    "Record",
    "RecordFile",
    "Row",
    "catalogue_row",
    "catalogue_rows",
    "check_file",
    "fetch",
    "load",
    "load_head_tail",
    "load_records",
    "locate",
    "read_parquet",
    "read_records",
    "read_table",
    "sample_head_tail",
    "write_parquet",
]
