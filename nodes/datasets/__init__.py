"""THE reader of datasets, for nodes, routes and runner alike: layouts, names, pictures, masks.

Needs numpy and Pillow, neither torch nor ComfyUI. One module opens pictures (`pictures`), one cuts masks (`masks`), one
knows layouts (`layouts`), one knows names (`names`).
"""
