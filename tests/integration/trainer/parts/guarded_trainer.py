"""`python -m tests.integration.trainer.parts.guarded_trainer`: a trainer to which 127.0.0.1 is the public internet.

So hosts on the loopback interface can be had, while the network guard keeps it from everything else.
"""

from servicekit import network_guard
from servicekit.process.service import end_process
from trainer.__main__ import main

if __name__ == "__main__":
    network_guard.is_public = lambda address: address == "127.0.0.1"
    end_process(main())
