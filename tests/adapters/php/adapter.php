<?php

declare(strict_types=1);

/**
 * The PHP adapter of the scenario table: lines in, calls, lines out. It judges nothing.
 * tests/README.md describes the lines.
 */

use B24\MessageService\Client;
use B24\MessageService\Drained;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Log;
use B24\MessageService\PortalState;
use B24\MessageService\Provider;
use B24\MessageService\RefusedReceipt;
use B24\MessageService\Request;
use B24\MessageService\Status;
use B24\MessageService\Tests\CallableLogger;
use B24\MessageService\Tokens;
use B24\MessageService\Vocabulary;

require __DIR__ . '/../../../bindings/php/autoload.php';
require __DIR__ . '/../../../bindings/php/tests/psr/CallableLogger.php';

final class Adapter
{
    /** @var array<string, string> */
    private array $options = [];
    /** @var array<string, Client> by name; the lines are about the one in use */
    private array $clients = [];
    /** @var array<string, Provider> by name, as the clients */
    private array $providers = [];
    /** @var array<string, Request> the last request that each provider received */
    private array $requests = [];
    private string $used = '';
    private ?Throwable $lastError = null;
    /** The timeout of the next call, in milliseconds. */
    private ?int $limit = null;
    /** How often renewed tokens were handed over. */
    private int $renewed = 0;

    /**
     * Carries out one line, and gives what answers it.
     *
     * @return array<string, mixed>
     */
    public function answer(string $verb, mixed ...$arguments): array
    {
        try {
            return ['result' => $this->plain($this->carryOut($verb, ...$arguments))];
        } catch (MessageServiceException $error) {
            return ['error' => $this->members($error)];
        }
    }

    private function carryOut(string $verb, mixed ...$arguments): mixed
    {
        return match ($verb) {
            'use' => $this->used = $arguments[0],
            'client' => $this->open(...$arguments),
            'limit' => $this->limit = $arguments[0],
            'call' => $this->call(...$arguments),
            'provider' => $this->openProvider(...$arguments),
            'provider_call' => $this->callProvider(...$arguments),
            'renewals_wait' => Client::renewalsWait($arguments[0] / 1000),
            'tokens' => $this->tokens(),
            'renewed' => $this->renewed,
            'log' => Log::to(new CallableLogger(self::write(...)), 'debug'),
            'dump' => $this->dump(),
            'reset' => $this->reset(),
        };
    }

    /**
     * @param list<array{string, string}> $options
     */
    private function open(string $kind, array $options): void
    {
        $given = array_column($options, 1, 0);
        $this->options = $kind === 'new' ? $given : [...$this->options, ...$given];
        unset($this->clients[$this->used]);
        $this->clients[$this->used] = new Client(
            $this->options['portal'] ?? '',
            array_diff_key($this->options, ['portal' => true])
        );
        $this->clients[$this->used]->onRenewal(function (Tokens $tokens): void {
            $this->renewed++;
        });
    }

    private static function write(string $level, string $message): void
    {
        fwrite(STDERR, "$level $message\n");
    }

    /**
     * @param array<string, mixed> $arguments by name
     */
    private function call(string $method, array $arguments): mixed
    {
        return $this->limited($this->clients[$this->used])->{self::camel($method)}(...self::named($arguments));
    }

    /**
     * @template T of Client|Provider
     * @param T $handle
     * @return T the same, with the limit of this call
     */
    private function limited(Client|Provider $handle): Client|Provider
    {
        [$limit, $this->limit] = [$this->limit, null];
        return $limit === null ? $handle : $handle->withTimeout($limit / 1000);
    }

    /**
     * @param array<string, mixed> $arguments by the name in the lines
     * @return array<string, mixed> by the name in PHP
     */
    private static function named(array $arguments): array
    {
        return array_combine(array_map(self::camel(...), array_keys($arguments)), $arguments);
    }

    private function reset(): void
    {
        [$this->options, $this->clients, $this->used, $this->lastError] = [[], [], '', null];
        [$this->providers, $this->requests, $this->renewed] = [[], [], 0];
    }

    /**
     * @param list<array{string, string}> $options
     */
    private function openProvider(array $options): void
    {
        if (isset($this->providers[$this->used])) {
            $this->providers[$this->used]->close();
        }
        unset($this->providers[$this->used], $this->requests[$this->used]);
        $this->providers[$this->used] = new Provider(array_column($options, 1, 0));
    }

    /**
     * @param array<string, mixed> $arguments by name
     */
    private function callProvider(string $method, array $arguments): mixed
    {
        $provider = $this->limited($this->providers[$this->used]);
        $at = self::moment($arguments['at_ms'] ?? 0);
        return match ($method) {
            'receive' => $this->receive($provider, ...$arguments),
            'install_request' => $provider->installRequest($this->requests[$this->used]),
            'client' => $this->clients[$this->used] = $provider->client($arguments['member_id']),
            'report' => $provider->report(
                $arguments['member_id'],
                $arguments['code'],
                $arguments['message_id'],
                $arguments['status'],
                $at
            ),
            'report_reference' => $provider->reportReference(
                $arguments['reference'],
                $arguments['status'],
                $at,
                operator: $arguments['operator'] ?? ''
            ),
            'drain' => $provider->drain($arguments['ms'] / 1000),
            'refused' => self::first($provider->refused($arguments['after'] ?? ''), $arguments['limit'] ?? 1000),
            'vocabulary' => (new Vocabulary($arguments['name'], $arguments['table'] ?? null))
                ->status($arguments['word']),
            default => $provider->{self::camel($method)}(...self::named($arguments)),
        };
    }

    /**
     * @param list<string> $get
     * @return array<string, mixed>
     */
    private function receive(Provider $provider, string $content_type, string $body64, array $get = []): array
    {
        $request = $provider->receive($content_type, (string) base64_decode($body64, true));
        $this->requests[$this->used] = $request;
        return [
            'kind' => $request->kind->value,
            'member_id' => $request->memberId,
            'client_endpoint' => $request->clientEndpoint,
            // An object in JSON, also if it is empty.
            'get' => (object) array_combine($get, array_map($request->get(...), $get)),
        ];
    }

    private static function moment(int $milliseconds): ?DateTimeInterface
    {
        if ($milliseconds === 0) {
            return null;
        }
        $part = ($milliseconds % 1000 + 1000) % 1000;
        return (new DateTimeImmutable('@' . intdiv($milliseconds - $part, 1000)))->modify("+$part msec");
    }

    /**
     * @return list<RefusedReceipt>
     */
    private static function first(Generator $receipts, int $limit): array
    {
        $first = [];
        foreach ($receipts as $receipt) {
            if (count($first) >= $limit) {
                break;
            }
            $first[] = $receipt;
        }
        return $first;
    }

    /**
     * @return array<string, string|int|null>
     */
    private function tokens(): array
    {
        $tokens = $this->clients[$this->used]->tokens();
        return [
            'access_token' => $tokens->accessToken,
            'refresh_token' => $tokens->refreshToken,
            'client_endpoint' => $tokens->clientEndpoint,
            'member_id' => $tokens->memberId,
            'expires' => $tokens->expires,
        ];
    }

    private function dump(): string
    {
        ob_start();
        foreach ($this->clients as $client) {
            var_dump($client, $client->tokens());
            echo json_encode($client);
        }
        foreach ([...array_values($this->providers), ...array_values($this->requests)] as $object) {
            var_dump($object);
            print_r($object);
            echo json_encode($object);
        }
        echo $this->lastError, "\n";
        print_r($this->lastError);
        return (string) ob_get_clean();
    }

    private static function camel(string $name): string
    {
        return lcfirst(str_replace('_', '', ucwords($name, '_')));
    }

    /**
     * What a method returned, as JSON has it: an error among the outcomes of a batch too.
     */
    private function plain(mixed $value): mixed
    {
        return match (true) {
            $value instanceof MessageServiceException => ['error' => $this->members($value)],
            is_array($value) => array_map($this->plain(...), $value),
            $value instanceof Client => null,
            $value instanceof Status => $value->value,
            $value instanceof Drained => [
                'sent' => $value->sent,
                'refused' => $value->refused,
                'held' => $value->held,
                'waiting' => $value->waiting,
                'next_due_ms' => self::milliseconds($value->nextDue),
            ],
            $value instanceof PortalState => [
                'member_id' => $value->memberId,
                'client_endpoint' => $value->clientEndpoint,
                'state' => $value->state,
                'reason' => $value->reason,
                'waiting' => $value->waiting,
                'refused' => $value->refused,
                'oldest_ms' => self::milliseconds($value->oldest),
                'next_due_ms' => self::milliseconds($value->nextDue),
            ],
            $value instanceof RefusedReceipt => [
                'cursor' => $value->cursor,
                'member_id' => $value->memberId,
                'code' => $value->code,
                'message_id' => $value->messageId,
                'reference' => $value->reference,
                'status' => $value->status->value,
                'at_ms' => (int) $value->at->format('U') * 1000 + (int) $value->at->format('v'),
                'reason' => $value->reason,
            ],
            default => $value,
        };
    }

    private static function milliseconds(?float $seconds): int
    {
        return $seconds === null ? -1 : (int) round($seconds * 1000);
    }

    /**
     * @return array<string, string|int|bool>
     */
    private function members(MessageServiceException $error): array
    {
        $this->lastError = $error;
        return [
            'code' => $error->kind(),
            'portal_code' => $error->portalCode(),
            'http_status' => $error->httpStatus() ?? 0,
            'retryable' => $error->isRetryable(),
            'retry_after_ms' => self::milliseconds($error->retryAfter()),
            'message' => $error->getMessage(),
            'description' => $error->description(),
        ];
    }
}

$adapter = new Adapter();
while (($line = fgets(STDIN)) !== false) {
    $answer = $adapter->answer(...json_decode($line, true, flags: JSON_THROW_ON_ERROR));
    echo json_encode($answer, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
