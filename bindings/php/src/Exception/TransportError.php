<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke. Check the network, DNS, the proxy
 * and `ca_file`.
 */
final class TransportError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'TRANSPORT';
}
