"""The list of nodes that a server is given."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class DefectForgeExtension(ComfyExtension):
    """All DefectForge nodes; one import line for each family."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The node classes, in the order in which they are listed."""
        from . import (
            blend_nodes,
            colour_nodes,
            dataset_nodes,
            inpaint_nodes,
            mask_nodes,
            output_nodes,
            placement_nodes,
            prompt_nodes,
            reference_nodes,
            selection_nodes,
            transplant_nodes,
        )

        families = (
            dataset_nodes,
            mask_nodes,
            placement_nodes,
            transplant_nodes,
            inpaint_nodes,
            blend_nodes,
            colour_nodes,
            prompt_nodes,
            reference_nodes,
            selection_nodes,
            output_nodes,
        )
        return [node for family in families for node in family.NODES]
