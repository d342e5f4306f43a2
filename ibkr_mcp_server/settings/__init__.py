"""Every setting of the product, read once at the start and frozen from then on (CFG-09, CFG-16).

A group of settings has a file of its own (`broker`, `gates`, `orders`, `portfolio`, `people`, `storage`, `agents`,
`control`, `simulator`, `alerts`, `risk`), and `model` puts them together. `loading` reads them from all sources,
`contradictions` holds what must fit together, `rules` how one value is read, `pages` what is generated from them.
"""
