from trunkcall.offline import LLM as LLM
from trunkcall.offline import SamplingParams as SamplingParams
from trunkcall.python_client import AsyncClient as AsyncClient
from trunkcall.python_client import Client as Client

__version__: str
