"""What the contract refuses.

ContractError
├── HeaderError     the headers of a record cannot be read: the streams pass it on, the sink dead-letters it
├── SchemaError     an .avsc breaks a rule of the house: whoever loads it stops or dead-letters, naming the metric
└── BodyError       bytes are not what their schema says: the sink dead-letters the record
"""


class ContractError(ValueError):
    """The message names the offending header, field or metric, and what would be right."""


class HeaderError(ContractError):
    """A header is absent, doubled or malformed."""


class SchemaError(ContractError):
    """A record schema breaks a rule."""


class BodyError(ContractError):
    """A body cannot be encoded or decoded with its schema."""
