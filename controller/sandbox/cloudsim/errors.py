"""The one exception of the simulated API: a business error, answered with HTTP 200 as the real gateway does."""


class ApiError(Exception):
    """Refused, with one of Tencent's error codes."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
