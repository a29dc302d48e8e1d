"""`python -m tests.integration.trainer.parts.guarded_trainer`: a trainer that treats 127.0.0.1 as public.

It can reach hosts on that address, while its network guard blocks all other addresses.
"""

from servicekit import network_guard
from servicekit.process.service import end_process
from trainer.__main__ import main

if __name__ == "__main__":
    network_guard.is_public = lambda address: address == "127.0.0.1"
    end_process(main())
