"""What survives a restart: results, history and events in one SQLite file.

One thread writes (`writer`), behind a bounded queue (`queued`), so that neither the event loop nor a packet ever waits
for a disk; another answers questions (`reader`). Each second's summaries of all test-sessions go into a journal;
complete minutes, hours and days are rolled up (`compaction`) into blocks of one test-session, tier by tier (`tiers`),
and what is too old or too much is deleted (`retention`). Since summaries merge exactly, every window is the merge of
what covers it.
"""

from twoway.store.probes import Probes as Probes
from twoway.store.reader import KeptEvent as KeptEvent
from twoway.store.reader import Page as Page
from twoway.store.reader import Point as Point
from twoway.store.reader import Reader as Reader
from twoway.store.reader import Window as Window
from twoway.store.store import Store as Store
from twoway.store.summaries import Summaries as Summaries
