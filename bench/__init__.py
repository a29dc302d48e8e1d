"""Benchmarks. Each file is a command, and `python bench/NAME.py --help` explains its options.

`capacity` is in the folder `search`, `situations`, `adoption` and `regions` in `answers`.

performance              all of `workloads`, each figure beside its bound and its bar: `make bench`
  searches               searches from HTTP to the answer, beside a plain alternative and the bound
  beside_finetune        searches in one collection while another one is finetuned
  indexing               how soon a collection can be searched and is published, new, changed and unchanged
  uploads                uploads of large CSVs
  starts                 cold and warm starts until ready
  memory                 anonymous memory by the number of images, and searches of a large collection
capacity                 what hardware answers a number of searches a second, by simulation
embedder                 throughput and latency of the embedder, against the same engine without the service
quality                  what fine-tuning gains, from upload to search
situations               the same for several seeds, from stored vectors and without services
adoption                 which groups a finetune learns: genuine ones, and ones by chance
regions                  whether a detail of a large scan is found
false_matches            whether false match rates are what they claim to be
duplicates               precision and recall of duplicates among look-alikes, and the time for a large collection
finetune, fit_scale      time and memory of the trainer: of a whole finetune, of fitting an adapter
harvest                  a harvest over OAI-PMH with pauses, an expired token and `kill -9` of the trainer
faulty_downloads         downloads from hosts with every fault
kills                    `kill -9` of any process during a finetune
attacks/overload, soak   an instance under ten times its load, and for an hour while its processes are killed
recall                   whether everything that is indexed is found, on hard sets
qdrant_isolation         latency of the one-machine Qdrant during a finetune
page_scroll              frames of the web page while it scrolls, and the time of its first load
"""

import sys
from pathlib import Path

# The folder of a script comes first on the import path, where `bench/embedder.py` would hide the package `embedder`.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
