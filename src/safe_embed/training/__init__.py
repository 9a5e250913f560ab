"""Fine-tuning: an adapter that makes a sentence encoder a better safety detector.

torch, transformers and peft are imported by the modules that train (`model`, `losses`, `loop`,
`train`) and by nothing that is imported here.
"""

from safe_embed.training.examples import Examples, gather_examples
from safe_embed.training.recipe import Recipe, load_recipe, recipe_for
from safe_embed.training.results import Training

__all__ = ["Examples", "Recipe", "Training", "gather_examples", "load_recipe", "recipe_for"]
