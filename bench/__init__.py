"""Benchmarks. Each file is a command, and `python bench/NAME.py --help` explains its options.

`searches` is in the folder `search`, `situations` and `adoption` in `answers`.

searches                 searches from HTTP to the answer, beside a plain alternative and the bound: `make bench`
embedder                 throughput and latency of the embedder, against the same engine without the service
quality                  what fine-tuning gains, from upload to search
situations               the same for several seeds, from stored vectors and without services
adoption                 which groups a finetune learns: genuine ones, and ones by chance
false_matches            whether false match rates are what they claim to be
duplicates               precision and recall of duplicates among look-alikes, and the time for a large collection
finetune, fit_scale      time and memory of the trainer: of a whole finetune, of fitting an adapter
faulty_downloads         downloads from hosts with every fault
kills                    `kill -9` of any process during a finetune
search_beside_finetune   latency of searches during a finetune
recall                   whether everything that is indexed is found, on hard sets
qdrant_isolation         latency of the one-machine Qdrant during a finetune
page_scroll              frames of the web page while it scrolls, and the time of its first load
upload                   uploads of large CSVs
page_scroll              frames of the web page while it is scrolled
"""

import sys
from pathlib import Path

# The folder of a script comes first on the import path, where `bench/embedder.py` would hide the package `embedder`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
