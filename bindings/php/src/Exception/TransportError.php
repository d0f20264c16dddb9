<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke.
 */
final class TransportError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'TRANSPORT';
}
