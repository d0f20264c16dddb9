<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal moved to an address that is not trusted with the token.
 */
final class PortalMoved extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'PORTAL_MOVED';
}
