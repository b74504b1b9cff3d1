// Keeps the name in a cookie of this app; an empty name takes the cookie away.
export default function ({ data }) {
  const age = data.name ? 365 * 24 * 3600 : 0;
  document.cookie = `${data.cookie}=${encodeURIComponent(data.name)}; path=/; max-age=${age}; samesite=strict`;
}
