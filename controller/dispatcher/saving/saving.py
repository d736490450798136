"""What is done to save traffic about one request and its answer."""

from multidict import CIMultiDict

from controller.dispatcher.answer import Sink
from controller.dispatcher.forward import Exchange
from controller.dispatcher.saving.accept import AnyHeaders, may_be_changed
from controller.dispatcher.saving.policy import Policy
from controller.dispatcher.saving.reencoding import Images
from controller.dispatcher.saving.sink import SavingSink
from controller.dispatcher.saving.transfer import Transfer
from controller.dispatcher.state import State


class Saving:
    """One request. Close it."""

    def __init__(self, state: State, policy: Policy, method: str, client: AnyHeaders, *, stored: bool = False) -> None:
        """Decide.

        Args:
            state: counts, and has the workers.
            policy: what is on.
            method: of the client's request.
            client: the headers of the client's request.
            stored: the answer goes to a store, and to a client only later.
        """
        self._transfer = Transfer(policy, client, state.metrics.saved, stored=stored)
        self._images = None
        if policy.reencode is not None and method != "HEAD" and may_be_changed(client):
            self._images = Images(policy.reencode, client, state.images)
        self._sink: SavingSink | None = None

    def ask(self, headers: CIMultiDict[str]) -> None:
        """Ask for a compressed answer in a request for a server."""
        self._transfer.ask(headers)

    def sink(self, inner: Sink) -> Sink:
        """What takes the answer for this sink."""
        if not (self._transfer.asks or self._transfer.squeezes or self._images):
            return inner
        self._sink = SavingSink(inner, self._transfer, self._images)
        return self._sink

    def close(self) -> None:
        """Hold nothing back any more."""
        if self._sink is not None:
            self._sink.close()


def saving_of(exchange: Exchange, state: State) -> Saving | None:
    """What is done about a request; None: nothing."""
    policy, request = exchange.view.saving, exchange.request
    return None if policy is None else Saving(state, policy, request.method, request.headers)
