<?php

declare(strict_types=1);

/**
 * Sends the receipts in the store to the portals, for as many seconds as it is told to. For cron, each minute:
 *
 *     * * * * * B24_STORE=… B24_CLIENT_ID=… B24_CLIENT_SECRET=… php drain.php 55
 *
 * Several may run at once, on one store. SIGTERM ends it after a few seconds.
 */

use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/provider.php';

/** PHP handles signals between two drains, so one of them lasts no longer than this. */
const PART = 5.0;

$end = microtime(true) + (float) ($argv[1] ?? 55);
$stopped = false;
if (function_exists('pcntl_async_signals')) {
    pcntl_async_signals(true);
    pcntl_signal(SIGTERM, static function () use (&$stopped): void {
        $stopped = true;
    });
}

$sent = $refused = 0;
try {
    $provider = provider();
    do {
        $drained = $provider->drain(max(0.0, min(PART, $end - microtime(true))));
        $sent += $drained->sent;
        $refused += $drained->refused;
    } while (!$stopped && microtime(true) < $end);
    echo "sent $sent, refused $refused, held $drained->held, waiting $drained->waiting\n";
    foreach ($provider->inspect() as $portal) {
        if ($portal->state === 'held') {
            fwrite(STDERR, "$portal->memberId is held with $portal->waiting receipts: $portal->reason\n");
        }
    }
} catch (MessageServiceException $error) {
    fwrite(STDERR, "{$error->kind()}: {$error->getMessage()}\n");
    exit(1);
}
