"""The paper's three tasks, the suites they run on, and the run file."""

from safe_embed.benchmark.agreement import Agreement, measure_agreement
from safe_embed.benchmark.baseline import (
    BaselinePrompts,
    measure_average_similarity,
    split_head_tail,
)
from safe_embed.benchmark.comparison import (
    TASKS,
    Comparison,
    ComparisonRow,
    PublishedScores,
    TaskDifference,
    compare,
    published_scores,
    score_of,
)
from safe_embed.benchmark.evaluation import evaluate
from safe_embed.benchmark.results import (
    Evaluation,
    Item,
    Run,
    SafetyChallenging,
    SafetyContrast,
    SafetyTaxonomy,
    TaskName,
)
from safe_embed.benchmark.run_file import (
    items_path,
    load_evaluation,
    load_items,
    load_run,
    save_evaluation,
)
from safe_embed.benchmark.suite import Suite, load_baseline, load_suite

__all__ = [
    "TASKS",
    "Agreement",
    "BaselinePrompts",
    "Comparison",
    "ComparisonRow",
    "Evaluation",
    "Item",
    "PublishedScores",
    "Run",
    "SafetyChallenging",
    "SafetyContrast",
    "SafetyTaxonomy",
    "Suite",
    "TaskDifference",
    "TaskName",
    "compare",
    "evaluate",
    "items_path",
    "load_baseline",
    "load_evaluation",
    "load_items",
    "load_run",
    "load_suite",
    "measure_agreement",
    "measure_average_similarity",
    "published_scores",
    "save_evaluation",
    "score_of",
    "split_head_tail",
]
