"""Can the recipe of an alignment be run here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from headstock.hookspecs import RecipeCheck

if TYPE_CHECKING:
    from headstock.catalogue import Catalogue
    from headstock.data.table import Table
    from headstock.finetune.recipe import Recipe
    from headstock.plugin_host import PluginHost


class AlignmentCheck(RecipeCheck):
    """Both towers are here, in one space, with the layer groups that the strategy names."""

    name: ClassVar[str] = "align"

    def check(self, catalogue: Catalogue, host: PluginHost, recipe: Recipe, table: Table | None) -> None:
        """Raises as `align` does before it trains."""
        from headstock.objectives.prepare import require_data
        from headstock_multimodal.align.plan import towers_of
        from headstock_multimodal.heads.towers import require_same_space

        towers = towers_of(catalogue, recipe)
        require_same_space(towers["image"], towers["text"])
        if table is not None:
            require_data(recipe, table)
        if recipe.strategy.live:
            from headstock.backbone.restore import restore
            from headstock_multimodal.align.body import groups_of

            restored = {role: restore(catalogue, host, tower.digest, tower.name) for role, tower in towers.items()}
            recipe.strategy.require_groups([group.name for group in groups_of(restored)], recipe.backbone.name)
