<?php

declare(strict_types=1);

/**
 * Reports statuses from a queue, one job for each receipt. `ReportStatusHandler` is what a framework's queue calls:
 *
 * - Symfony Messenger: give it `#[AsMessageHandler]`, and throw `RecoverableMessageHandlingException` where it throws
 *   `Later`, `UnrecoverableMessageHandlingException` where it throws `GivenUp`. Its retry strategy waits.
 * - Laravel: call it in the job's `handle()`, with `$this->release($later->seconds)` for `Later` and
 *   `$this->fail($failed)` for `GivenUp`.
 *
 * Receipts of one message have to be handled one after the other: by one worker, or with a lock of the queue's
 * (`WithoutOverlapping` in Laravel) by the id of the message.
 *
 * Here the queue is standard input, one "CODE MESSAGE_ID STATUS" in a line:
 *
 *     B24_PORTAL=portal.bitrix24.com B24_ACCESS_TOKEN=… php queue-worker.php <jobs.txt
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/../autoload.php'; // with Composer: vendor/autoload.php
require __DIR__ . '/settings.php';

/** The job: it goes through the queue, and holds no secret. */
final class ReportStatus
{
    public function __construct(
        public readonly string $code,
        public readonly string $messageId,
        public readonly string $status,
    ) {
    }
}

/** The job is to be tried again, no earlier than after these seconds. */
final class Later extends RuntimeException
{
    public function __construct(public readonly int $seconds, Throwable $why)
    {
        parent::__construct($why->getMessage(), 0, $why);
    }
}

/** The job never succeeds: somebody has to look at it. */
final class GivenUp extends RuntimeException
{
    public function __construct(Throwable $why)
    {
        parent::__construct($why->getMessage(), 0, $why);
    }
}

final class ReportStatusHandler
{
    /**
     * A worker makes one client and keeps it, with its connection and its tokens: in Laravel and Symfony it is a service.
     */
    public function __construct(private readonly Client $client)
    {
    }

    /**
     * @throws Later
     * @throws GivenUp
     */
    public function __invoke(ReportStatus $job): void
    {
        try {
            $this->client->messageStatusUpdate($job->code, $job->messageId, $job->status);
        } catch (MessageNotFound $gone) {
            // The message was deleted, or is another provider's: nothing to do.
            error_log("$job->code $job->messageId: {$gone->getMessage()}");
        } catch (MessageServiceException $error) {
            throw $error->isRetryable()
                ? new Later((int) ceil($error->retryAfter() ?? 60.0), $error)
                : new GivenUp($error);
        }
    }
}

// The framework's part.
try {
    $handle = new ReportStatusHandler(new Client((string) getenv('B24_PORTAL'), options(
        'access_token',
        'refresh_token',
        'client_id',
        'client_secret',
        'oauth_url',
        'state_dir',
        'max_retries',
        'ca_file',
        'resolve',
        'proxy',
    )));
} catch (MessageServiceException $error) {
    fwrite(STDERR, "{$error->getMessage()}\n");
    exit(2);
}
while (($line = fgets(STDIN)) !== false) {
    $words = preg_split('/\s+/', trim($line)) ?: [];
    if (count($words) !== 3) {
        echo "dropped: not a job\n";
        continue;
    }
    try {
        $handle(new ReportStatus(...$words));
        echo "$words[1] done\n";
    } catch (Later $later) {
        echo "$words[1] again in $later->seconds s\n";
    } catch (GivenUp $failed) {
        echo "$words[1] failed: {$failed->getMessage()}\n";
    }
}
