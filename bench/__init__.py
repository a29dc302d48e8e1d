"""What was measured, to be measured again. Each file is a command: `python bench/NAME.py --help` says what it needs.

embedder                 the bare loop, the service, latency beside bulk, memory
quality                  what fine-tuning is worth, from upload to search
finetune, fit_scale      time and memory of the trainer: downloads and index, learning
faulty_downloads         URLs with every fault
kills                    kill -9 of any process in a finetune
search_beside_finetune   what searches feel of a finetune; qdrant_isolation: of the vector store alone
upload                   large CSVs
"""

import sys
from pathlib import Path

# Run as a script, a benchmark's folder comes first on the import path, and `bench/embedder.py` hides the package.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
