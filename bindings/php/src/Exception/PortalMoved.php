<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal moved to an address that the token may not be sent to. Check the address in the message. If it
 * is the customer's, add its host to `redirect_hosts`.
 */
final class PortalMoved extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'PORTAL_MOVED';
}
