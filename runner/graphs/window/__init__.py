"""What ComfyUI's window does with a saved graph before it queues it, rule by rule.

The rules are those of frontend 1.58.1. `form` reads the file, `widgets` and `node` make each node as the window makes
it, `instances` and `promotion` do the same for subgraphs, `links` ties the nodes together, `virtual` and `group_nodes`
treat what the server never sees, `resolve` follows a link through all of that, `texts` fills in prompts and file names.
`..convert` calls them in the window's order.
"""
