"""Reports one status: ``python plain.py provider1 65575980fa531ac284c2ee68f81ebebd delivered``.

The environment says the rest: B24_PORTAL, B24_ACCESS_TOKEN and so on.
"""

from __future__ import annotations

import sys

from b24_messageservice import B24Error, Client, InvalidArgument, MessageNotFound


def main() -> int:
    code, message_id, status = sys.argv[1:]
    with Client.from_env() as client:
        try:
            client.message_status_update(code, message_id, status)
        except MessageNotFound:
            print(f"the portal has no message {message_id} of {code}", file=sys.stderr)
            return 1
        except InvalidArgument as error:
            print(error, file=sys.stderr)
            return 2
        except B24Error as error:
            advice = "try again later" if error.retryable else "trying again does not help"
            print(f"{error}; {advice}", file=sys.stderr)
            return 3
    print(f"{message_id} is {status}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
