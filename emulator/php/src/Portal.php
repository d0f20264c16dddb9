<?php

declare(strict_types=1);

namespace B24\Portal;

use B24\MessageService\Client;

/**
 * A running portal emulator.
 *
 * Settings, faults and counts are those of b24-portal's documentation.
 */
final class Portal
{
    private const PROGRAM = 'b24-portal';
    private const VARIABLE = 'B24_PORTAL_BIN';
    private const OAUTH_HOST = 'oauth.bitrix24.test';
    /** How many seconds an answer may take; for a wait, in addition to its own time. */
    private const PATIENCE = 30.0;

    /** Where the portal answers on 127.0.0.1, whatever the host name. */
    public readonly int $httpsPort;
    /** The same portal without TLS. */
    public readonly int $httpPort;
    /** The authorization server. */
    public readonly int $oauthPort;
    /** The root certificate to trust. */
    public readonly string $caFile;
    /** The URL of the control API. */
    public readonly string $control;

    /** A host name that no earlier portal had. The portal answers under every other name too. */
    public string $host = '';
    /** The id of the application that is installed on it. */
    public string $clientId = '';
    /** The application's secret. */
    public string $clientSecret = '';
    /** The first access token; renewals return others. */
    public string $accessToken = '';
    /** The refresh token for the first renewal. */
    public string $refreshToken = '';

    private static ?self $running = null;
    private static int $resets = 0;

    /** @var resource|null */
    private $process;
    /** @var array<int, resource> the program runs as long as its standard input is open */
    private array $pipes = [];

    /**
     * Starts an emulator, which ends with this process at the latest.
     *
     * @param array<string, mixed> $settings of the first reset
     * @param string|null $program by default the one that findProgram() finds
     */
    public function __construct(#[\SensitiveParameter] array $settings = [], ?string $program = null)
    {
        $program ??= self::findProgram();
        if (!is_executable($program)) {
            throw new PortalException("$program cannot be started: it is not a program");
        }
        $process = proc_open([$program], [['pipe', 'r'], ['pipe', 'w']], $this->pipes);
        if ($process === false) {
            throw new PortalException("$program cannot be started");
        }
        $this->process = $process;
        $ready = fgets($this->pipes[1]);
        if ($ready === false) {
            $this->close();
            throw new PortalException("$program ended before it was ready");
        }
        $addresses = json_decode($ready, true, 8, JSON_THROW_ON_ERROR);
        $this->httpsPort = $addresses['https_port'];
        $this->httpPort = $addresses['http_port'];
        $this->oauthPort = $addresses['oauth_port'];
        $this->caFile = $addresses['ca_file'];
        $this->control = $addresses['control'];
        $this->reset($settings);
    }

    /**
     * The emulator of this process, started by the first call, and reset by each.
     *
     * @param array<string, mixed> $settings
     */
    public static function fresh(#[\SensitiveParameter] array $settings = []): self
    {
        if (self::$running === null || self::$running->process === null) {
            return self::$running = new self($settings);
        }
        self::$running->reset($settings);
        return self::$running;
    }

    /**
     * The path of the emulator: the one that B24_PORTAL_BIN names, or the one in this package, or the
     * first on PATH.
     */
    public static function findProgram(): string
    {
        $named = getenv(self::VARIABLE);
        if (is_string($named) && $named !== '') {
            return $named;
        }
        $directories = [dirname(__DIR__) . '/bin', ...explode(PATH_SEPARATOR, (string) getenv('PATH'))];
        foreach ($directories as $directory) {
            $program = "$directory/" . self::PROGRAM;
            if (is_file($program) && is_executable($program)) {
                return $program;
            }
        }
        throw new PortalException(
            'there is no ' . self::PROGRAM . ': not in this package, on PATH, or in ' . self::VARIABLE
        );
    }

    /**
     * Ends the emulator, and waits for its end. A second time does nothing.
     */
    public function close(): void
    {
        if ($this->process !== null) {
            array_map(fclose(...), $this->pipes);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /**
     * Where the portal and the authorization server are found, as curl's `--resolve` has it.
     *
     * @return list<string>
     */
    public function resolve(): array
    {
        return [
            "{$this->host}:443:127.0.0.1:{$this->httpsPort}",
            self::OAUTH_HOST . ":443:127.0.0.1:{$this->oauthPort}",
        ];
    }

    /**
     * The options of a client of b24/messageservice, overridden by `$more`.
     *
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    public function options(#[\SensitiveParameter] array $more = []): array
    {
        return $more + [
            'access_token' => $this->accessToken,
            'ca_file' => $this->caFile,
            'proxy' => 'none',
            'resolve' => $this->resolve(),
        ];
    }

    /**
     * As options(), with the options for renewing an expired token.
     *
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    public function renewable(#[\SensitiveParameter] array $more = []): array
    {
        return $this->options($more + [
            'refresh_token' => $this->refreshToken,
            'client_id' => $this->clientId,
            'client_secret' => $this->clientSecret,
            'oauth_url' => 'https://' . self::OAUTH_HOST,
        ]);
    }

    /**
     * The options of a provider of b24/messageservice, overridden by `$more`: it finds the portals under
     * all names, and the authorization server.
     *
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    public function providerOptions(#[\SensitiveParameter] array $more = []): array
    {
        return $more + [
            'client_id' => $this->clientId,
            'client_secret' => $this->clientSecret,
            'oauth_url' => 'https://' . self::OAUTH_HOST . ":{$this->oauthPort}",
            'ca_file' => $this->caFile,
            'proxy' => 'none',
            'resolve' => ["*:{$this->httpsPort}:127.0.0.1", "*:{$this->oauthPort}:127.0.0.1"],
        ];
    }

    /**
     * A client of this portal, if b24/messageservice is installed.
     *
     * @param array<string, mixed> $more options
     */
    public function client(#[\SensitiveParameter] array $more = []): Client
    {
        return new Client($this->host, $this->options($more));
    }

    /**
     * Forgets everything, and continues as a new portal with these settings.
     *
     * After each reset the host, the application and the tokens are others, unless the settings name them,
     * because clients remember what they know about a portal until the process ends.
     *
     * @param array<string, mixed> $settings
     */
    public function reset(#[\SensitiveParameter] array $settings = []): void
    {
        // Never given before, not by another process either: a client may keep tokens in a directory.
        $number = sprintf('%08d%08d', getmypid(), ++self::$resets);
        $settings += [
            'client_id' => "app.$number",
            'client_secret' => "installed-secret-$number",
            'access_token' => "installed-access-$number",
            'refresh_token' => "installed-refresh-$number",
        ];
        $this->ask('POST', '/reset', $settings);
        $this->host = 'portal' . self::$resets . '.bitrix24.test';
        $this->clientId = $settings['client_id'];
        $this->clientSecret = $settings['client_secret'];
        $this->accessToken = $settings['access_token'];
        $this->refreshToken = $settings['refresh_token'];
    }

    /**
     * Changes settings, and keeps everything else.
     *
     * @param array<string, mixed> $settings
     */
    public function set(#[\SensitiveParameter] array $settings): void
    {
        $this->ask('POST', '/set', (object) $settings);
    }

    /**
     * Queues a fault: `fault('drop_after', ['at' => 'update', 'count' => 2])`.
     *
     * @param array<string, mixed> $more
     */
    public function fault(string $kind, array $more = []): void
    {
        $this->ask('POST', '/fault', ['kind' => $kind] + $more);
    }

    /**
     * Continues with every request that hangs or is delayed.
     */
    public function release(): void
    {
        $this->ask('POST', '/release');
    }

    /**
     * Waits until this many calls and requests for a renewal have arrived since the last reset.
     *
     * @throws PortalException if they have not arrived within `$timeout` seconds
     */
    public function wait(int $requests = 0, int $renewalRequests = 0, float $timeout = 10.0): void
    {
        $told = $this->ask('POST', '/wait', [
            'requests' => $requests,
            'renewal_requests' => $renewalRequests,
            'timeout_ms' => (int) round($timeout * 1000),
        ], $timeout + self::PATIENCE);
        if (!$told['reached']) {
            throw new PortalException(
                "after $timeout s there were {$told['requests']} of $requests calls"
                . " and {$told['renewal_requests']} of $renewalRequests requests for a renewal"
            );
        }
    }

    /**
     * What the portal saw: counts, violations of the protocol (`bad`), and a log.
     *
     * @param int|null $log how many of the last requests are wanted; null: all that are kept
     * @return array<string, mixed>
     */
    public function seen(?int $log = null): array
    {
        return $this->ask('GET', $log === null ? '/seen' : "/seen?log=$log");
    }

    /**
     * The status of each message, by `CODE|MESSAGE_ID`.
     *
     * @param string|null $host another portal than the main one
     * @return array<string, string>
     */
    public function messages(?string $host = null): array
    {
        return array_diff_key($this->ask('GET', self::path('/messages', $host)), ['history' => true]);
    }

    /**
     * All statuses of each message, the oldest first.
     *
     * @return array<string, list<string>>
     */
    public function history(?string $host = null): array
    {
        return $this->ask('GET', self::path('/messages', $host))['history'];
    }

    /**
     * The messages of each portal that has any, by its host; of the main one by the empty text.
     *
     * @return array<string, array<string, string>>
     */
    public function allMessages(): array
    {
        $statuses = static fn (array $messages) => array_diff_key($messages, ['history' => true]);
        return array_map($statuses, $this->ask('GET', '/messages?all=1'));
    }

    /**
     * The message providers that are installed, by their codes, with their texts as they were given.
     *
     * @return array<string, array{type: string, handler: string, name: mixed, description: mixed}>
     */
    public function senders(?string $host = null): array
    {
        return $this->ask('GET', self::path('/senders', $host));
    }

    /**
     * The present tokens: those of the first pair, and all pairs. `lost` is true if a used refresh token was
     * sent again.
     *
     * @return array{
     *     access_token: string, refresh_token: string, expires: int, lost: bool, installed: bool,
     *     member_id: string, application_token: string, pairs: list<array<string, mixed>>
     * }
     */
    public function tokens(?string $host = null): array
    {
        return $this->ask('GET', self::path('/tokens', $host));
    }

    /**
     * Lets a pair of `tokens()['pairs']` not be renewed any more: `invalid_grant`.
     */
    public function spend(int $pair = 0, ?string $host = null): void
    {
        $this->ask('POST', '/spend', ['host' => $host ?? $this->host, 'pair' => $pair]);
    }

    /**
     * Installs the application, and returns the request that tells a provider.
     *
     * `$order` has the members of the emulator's documentation: `['as' => 'frame', 'pair' => 'user']`.
     *
     * @param array<string, mixed> $order
     * @return array<string, mixed> `content_type`, `body` and others
     */
    public function install(array $order = []): array
    {
        return $this->request('/install', $order);
    }

    /**
     * The request that sends a message to a provider.
     *
     * @param array<string, mixed> $order
     * @return array<string, mixed> `content_type`, `body`, `message_id` and others
     */
    public function message(array $order = []): array
    {
        return $this->request('/message', $order);
    }

    /**
     * Uninstalls the application, and returns the request that tells a provider.
     *
     * @param array<string, mixed> $order
     * @return array<string, mixed> `content_type`, `body` and others
     */
    public function uninstall(array $order = []): array
    {
        return $this->request('/uninstall', $order);
    }

    /**
     * @param array<string, mixed> $order
     * @return array<string, mixed>
     */
    private function request(string $path, array $order): array
    {
        // A handler may take its time as often as the request is sent.
        $timeout = self::PATIENCE * max(1, $order['times'] ?? 1);
        return $this->ask('POST', $path, $order + ['host' => $this->host], $timeout);
    }

    /**
     * The path of a command for another portal than the main one.
     */
    private static function path(string $path, ?string $host): string
    {
        return $host === null ? $path : "$path?host=" . rawurlencode($host);
    }

    /**
     * Sends a command to the control API, and returns its answer.
     *
     * @return array<string, mixed>
     */
    public function ask(string $method, string $path, mixed $body = null, float $timeout = self::PATIENCE): array
    {
        $context = stream_context_create(['http' => [
            'method' => $method,
            'header' => 'Content-Type: application/json',
            'content' => $body === null ? '' : json_encode($body, JSON_THROW_ON_ERROR),
            'ignore_errors' => true,
            'timeout' => $timeout,
        ]]);
        // What PHP warns of is in the exception.
        $answer = @file_get_contents($this->control . $path, false, $context);
        if ($answer === false) {
            throw new PortalException("$method $path: " . (error_get_last()['message'] ?? 'no answer'));
        }
        $answer = json_decode($answer, true, 64, JSON_THROW_ON_ERROR);
        // A sender may have the code `error`, and is no text.
        if (is_string($answer['error'] ?? null)) {
            throw new PortalException("$method $path: {$answer['error']}");
        }
        return $answer;
    }
}
