"""What is verified before a training costs anything."""

from study.data.dataset import ImageSpec
from study.errors import RecipeError
from study.recipe import FIELDS, Recipe
from study.training.models import MODELS


def check_recipe(recipe: Recipe, spec: ImageSpec) -> None:
    """Verifies what a Recipe alone does not know: that its fields fit these images and its options the network.

    Raises:
        RecipeError: a shift beyond the image, blocks that leave no pixels, an option that nothing takes.
    """
    smaller = min(spec.height, spec.width)
    if recipe.translate >= smaller:
        raise RecipeError(
            f"Recipe field 'translate' is {recipe.translate}; allowed for images of {spec.height} x {spec.width}: "
            f"an integer in [0, {smaller - 1}]"
        )
    if recipe.model in MODELS:
        if recipe.model_options:
            option, value = next(iter(recipe.model_options.items()))
            raise RecipeError(
                f"Recipe field 'model.{option}' is {value!r}; model {recipe.model!r} takes no such option"
            )
        MODELS[recipe.model].check(recipe, spec)
    from study.training.augmentation import AUGMENTATIONS

    for name, value in recipe.options:
        if name.startswith("augmentation.") and (added := name.partition(".")[2]) not in AUGMENTATIONS.keys() - FIELDS:
            known = ", ".join(AUGMENTATIONS.keys() - FIELDS) or "none was added"
            raise RecipeError(
                f"Recipe field {name!r} is {value!r}; no augmentation {added!r} was added; known: {known}"
            )
