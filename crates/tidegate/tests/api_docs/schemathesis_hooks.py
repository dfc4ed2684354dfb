"""What Schemathesis cannot know from the document."""

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """JSON Schema takes 273.0 for an integer; Tidegate wants it written as 273, and says so in words."""
    case.body = whole(case.body)


def whole(value):
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value
