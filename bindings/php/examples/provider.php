<?php

declare(strict_types=1);

/**
 * The provider of handler.php, receipt.php and drain.php: its options are in the environment, the same for all three.
 *
 * B24_STORE=sqlite:/var/lib/sms/b24.db B24_CLIENT_ID=app.123 B24_CLIENT_SECRET=…
 */

use B24\MessageService\Provider;

require __DIR__ . '/../autoload.php'; // with Composer: vendor/autoload.php
require __DIR__ . '/settings.php';

/** Whose ids the references are. With a second operator, the two may give the same ids. */
const OPERATOR = 'operator1';

function provider(): Provider
{
    return new Provider(options(
        'store',
        'store_key_file',
        'client_id',
        'client_secret',
        'oauth_url',
        'timeout_ms',
        'rate_limit',
        'ca_file',
        'resolve',
        'proxy',
    ));
}

/** Answers the web request. */
function answer(int $status, string $text): void
{
    http_response_code($status);
    echo "$text\n";
}
