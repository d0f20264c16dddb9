<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * The statuses of a message, under the names that the portal uses.
 */
enum Status: string
{
    /** Accepted by the provider, not yet sent. */
    case Queued = 'queued';
    /** Handed to the network. */
    case Sent = 'sent';
    /** Arrived. */
    case Delivered = 'delivered';
    /** Could not be delivered. */
    case Undelivered = 'undelivered';
    /** Could not be sent. */
    case Failed = 'failed';
}
